# What the flake takes from nixpkgs, in a few lines each: enough to evaluate all of its outputs, and to build the
# image's file tree from packages that hold one empty file for each thing a package of that kind may hold.
let
  lib = import ./lib.nix;

  packagesOf =
    system:
    let
      inherit (import ./builders.nix { inherit system; }) make;

      programs = builtins.concatStringsSep " " (
        builtins.attrValues (lib.importJSON ../../image/layout.json).programs
      );
      # One for all: what is missing in the image's tree was not linked there.
      everything = make "everything" { } ''
        mkdir -p $out/{bin,by-hand,etc/ssl/certs,lib/{locale,python/site,nix-postgres/entrypoint/shims},share/{postgresql,zoneinfo/Europe}}
        cd $out
        for file in bin/{${replaced programs}} bin/{pgbackrest,wal-g,walg-daemon-client} by-hand/{pgbackrest,wal-g} etc/ssl/certs/ca-bundle.crt \
          lib/{libicui18n.so.76,llvmjit.so,libnss_wrapper.so,locale/locale-archive} share/zoneinfo/Europe/Berlin \
          lib/nix-postgres/{python3,entrypoint/shims/docker-{entrypoint,ensure-initdb}.sh}; do
          echo stand-in >$file
        done
        printf '%s\n' "#listen_addresses = 'localhost'" "#shared_preload_libraries = '''" >share/postgresql/postgresql.conf.sample
        printf '%s\n' '#!/bin/bash' 'mkdir data' \
          'cp "$(dirname "$0")"/../share/postgresql/postgresql.conf.sample data/postgresql.conf' >bin/initdb
        printf '%s\n' '#!/bin/bash' '[ "$*" = "internal template --locales $4 --icu $6 $7" ] && [ "$LANG" = en_US.utf8 ]' \
          'mkdir $7; cat $4 >$7/made-from; command -v initdb >>$7/made-from' >bin/entrypoint
        chmod -R 755 .
      '';
      package = name: everything // { inherit name; };
      replaced = builtins.replaceStrings [ " " ] [ "," ];

      postgresql =
        major:
        package "postgresql-${major}"
        // {
          psqlSchema = major;
          version = "${major}.1";
          withPackages =
            choose:
            pkgs.buildEnv {
              name = "postgresql-and-plugins";
              paths = choose pkgs ++ [ (package "postgresql-${major}") ];
            };
        };

      # An image is what it was asked for: the arguments can be looked at.
      image =
        kind: asked:
        make "${kind}.tar" { asked = builtins.toJSON asked; } "true"
        // {
          inherit asked;
          imageName = asked.name;
          imageTag = asked.tag;
        };

      pkgs =
        lib.genAttrs [
          "bashInteractive"
          "cacert"
          "coreutils"
          "cosign"
          "curl"
          "docker-client"
          "findutils"
          "gawk"
          "getent"
          "gnugrep"
          "gnused"
          "gzip"
          "icu"
          "jq"
          "less"
          "locale"
          "nixfmt-tree"
          "nss_wrapper"
          "patroni"
          "pg_cron"
          "pg_uuidv7"
          "pgbackrest"
          "pgvector"
          "podman"
          "postgis"
          "shellcheck"
          "skopeo"
          "syft"
          "timescaledb-apache"
          "tzdata"
          "util-linuxMinimal"
          "uv"
          "vectorchord"
          "which"
          "xz"
          "zstd"
        ] package
        // lib.genAttrs [ "15" "16" "17" "18" ] postgresql
        // lib.mapAttrs' (major: value: lib.nameValuePair "postgresql_${major}_jit" value) (
          lib.genAttrs [ "15" "16" "17" "18" ] postgresql
        )
        // lib.mapAttrs' (major: value: lib.nameValuePair "postgresql_${major}" value) (
          lib.genAttrs [ "17" "18" ] (major: postgresql major // { name = "postgresql-without-jit-${major}"; })
        )
        // {
          inherit lib pkgs;
          callPackage =
            path: more:
            let
              f = import path;
            in
            f (builtins.intersectAttrs (builtins.functionArgs f) pkgs // more);
          buildEnv =
            { name, paths, ... }:
            make name { } ''
              mkdir -p $out
              for path in ${toString (builtins.tail paths)} ${builtins.head paths}; do
                cp -r $path/. $out/
                chmod -R u+w $out
              done
            '';
          dockerTools = {
            buildLayeredImage = image "file";
            streamLayeredImage = image "stream";
          };
          fetchFromGitHub = asked: make asked.repo { asked = builtins.toJSON asked; } "true";
          glibcLocales = package "glibc-locales" // {
            override = asked: package "glibc-locales-${toString (builtins.length asked.locales)}";
          };
          mkShellNoCC = { packages }: make "shell" { inherit packages; } "true";
          python3 = package "python3" // {
            interpreter = "/usr/bin/python3";
            pkgs =
              lib.genAttrs [
                "apprise"
                "click"
                "cronsim"
                "jinja2"
                "prometheus-client"
                "psutil"
              ] package
              // {
                requiredPythonModules = list: list;
              };
            sitePackages = "lib/python/site";
          };
          runCommand = make;
          stdenv.hostPlatform = { inherit system; };
          stdenvNoCC = {
            hostPlatform = { inherit system; };
            mkDerivation =
              asked:
              package asked.pname
              // {
                inherit asked;
                inherit (asked) version;
              };
          };
          postgresql = throw "nixpkgs' own choice of PostgreSQL has no JIT";
          wal-g = package "wal-g" // {
            overrideAttrs =
              change:
              package "wal-g"
              // {
                asked = change {
                  version = "3.0.7";
                  subPackages = [ "main/pg" ];
                  postInstall = "";
                  env = { };
                  ldflags = [ "-X github.com/wal-g/wal-g/cmd/pg.walgVersion=3.0.7" ];
                };
              };
          };
          writeText = name: text: builtins.toFile name text;
        };
    in
    pkgs;

  # What our module makes of the settings in an attribute set after it.
  configurationOf =
    { system, modules }:
    let
      module = builtins.head modules;
      given = (lib.last modules).services.nix-postgres;
      pkgs = packagesOf system;
      arguments = {
        inherit lib pkgs;
        config = {
          services.nix-postgres = builtins.mapAttrs (_: option: option.default) declared // given;
          virtualisation = {
            oci-containers.backend = "podman";
            podman.package = pkgs.podman;
          };
        };
      };
      declared = (module arguments).options.services.nix-postgres;
      unknown = builtins.attrNames (removeAttrs given (builtins.attrNames declared));
    in
    if unknown == [ ] then (module arguments).config else throw "no such options: ${toString unknown}";
in
{
  inherit configurationOf lib;
  legacyPackages = lib.genAttrs [
    "x86_64-linux"
    "aarch64-linux"
  ] packagesOf;
}
