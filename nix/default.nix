# All packages and images, built from one set of nixpkgs.
{ pkgs }:
rec {
  entrypoint = pkgs.callPackage ./entrypoint.nix { };
  entrypointAbove = above: pkgs.callPackage ./entrypoint.nix { inherit above; };

  # With the small client that hands segments to wal-g's daemon, which the nixpkgs package does not include. The program
  # needs 3.0.9: an older nixpkgs' source is replaced. Its hashes are those with which supabase/postgres builds it
  # (nix/packages/wal-g.nix); a wrong one ends the build, and Nix prints the right one.
  wal-g = pkgs.wal-g.overrideAttrs (
    old:
    let
      version = "3.0.9";
    in
    {
      subPackages = old.subPackages ++ [ "cmd/daemonclient" ];
      postInstall = "mv $out/bin/daemonclient $out/bin/walg-daemon-client\n" + old.postInstall;
    }
    // pkgs.lib.optionalAttrs (pkgs.lib.versionOlder old.version version) {
      inherit version;
      src = pkgs.fetchFromGitHub {
        owner = "wal-g";
        repo = "wal-g";
        tag = "v${version}";
        hash = "sha256-QTPgJuCuLxlBqa2QAhV91qX4XTQHIvzAQDntchGpxrQ=";
      };
      proxyVendor = true;
      vendorHash = "sha256-m+X6WIdBjMU88tgwkS46lL6YwyGB0FoO3aCXCAUQzpo=";
      env = old.env // {
        GOEXPERIMENT = "jsonv2"; # for encoding/json/v2
      };
      ldflags = map (pkgs.lib.replaceStrings [ old.version ] [ version ]) old.ldflags;
    }
  );

  # The official Debian image of a major version, as a base for mkImage's `over`.
  official = major: pkgs.callPackage ./official.nix { inherit major; };

  mkImage = pkgs.callPackage ./image.nix { inherit entrypoint entrypointAbove wal-g; };
}
