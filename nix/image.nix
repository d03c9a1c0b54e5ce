# The image. ../image/layout.json defines its contents and its configuration; the tests read that file as well.
{
  lib,
  buildEnv,
  cacert,
  dockerTools,
  glibcLocales,
  icu,
  nss_wrapper,
  pgbackrest,
  pkgs,
  runCommand,
  tzdata,
  writeText,
  entrypoint,
  wal-g,
}:
# The choices of a deployer. They are separate from the arguments above, so that callPackage fills in none of them:
{
  major ? "17",
  postgresql ? pkgs."postgresql_${major}_jit",
  # as for postgresql.withPackages: ps: [ ps.pg_cron ]
  extensions ? _: [ ],
  # a package with lib/locale/locale-archive, for locales other than those of layout.json
  locales ? null,
  # more programs for init files
  programs ? [ ],
  # a base image with the layout of the official Debian one; its PostgreSQL and locales are not changed
  over ? null,
  name ? "nix-postgres",
  tag ? null,
  # build a program that writes the image to its output, instead of a file in the store
  stream ? false,
}:
let
  series = if over == null then postgresql.psqlSchema else major;
  text = lib.replaceStrings [ "@major@" ] [ series ] (builtins.readFile ../image/layout.json);
  data = lib.last (lib.filter (row: row.from <= lib.toInt series) (builtins.fromJSON text).data);
  layout = builtins.fromJSON (
    lib.replaceStrings [ "@data@" "@volume@" ] [ data.data data.volume ] text
  );
  idOf = lib.listToAttrs (map (user: lib.nameValuePair user.name (toString user.id)) layout.users);

  # initdb finds its sample through the link by which it was called (nixpkgs' relative-to-symlinks.patch), so PostgreSQL
  # need not be rebuilt to change one line.
  sample = runCommand "postgresql.conf.sample-${series}" { } ''
    place=share/postgresql/postgresql.conf.sample
    mkdir -p $out/share/postgresql
    sed -E "s/^#?listen_addresses = '[^']*'/listen_addresses = '*'/" ${postgresql}/$place >$out/$place
  '';
  server = buildEnv {
    name = "postgresql-${series}-image";
    paths = [
      (lib.hiPrio sample)
      (postgresql.withPackages extensions)
    ];
  };

  # The cluster that a first start copies if initdb would make the same one. It is made in the image's environment: a start
  # compares environments, so variables of this build would prevent the copy.
  template = runCommand "nix-postgres-template-${series}" { } ''
    env -i PATH=$PATH:${server}/bin LANG=${layout.config.environment.LANG} \
      ${entrypoint}/bin/entrypoint internal template --locales ${packages.locales}/lib/locale/locale-archive $out
  '';

  # For init files, pg_ctl, archive_command, and people who open a shell.
  tools = buildEnv {
    name = "nix-postgres-programs";
    paths = map (name: pkgs.${name}) layout.tools ++ programs;
    pathsToLink = [ "/bin" ];
  };

  # On another image, only what that image lacks.
  alone = lib.optionalAttrs (over == null);
  ours = lib.filterAttrs (path: _: over == null || lib.hasPrefix "/usr/local/" path) layout.links;
  folders = lib.filterAttrs (_: folder: over == null || folder.ours or false) layout.folders;

  packages = {
    locales =
      if locales != null then
        locales
      else
        glibcLocales.override {
          allLocales = false;
          inherit (layout) locales;
        };
    inherit
      cacert
      entrypoint
      icu
      nss_wrapper
      pgbackrest
      server
      template
      tools
      tzdata
      wal-g
      ;
  };
  inStore = lib.replaceStrings (map (name: "@${name}@") (lib.attrNames packages)) (
    map toString (lib.attrValues packages)
  );
  links = ours // lib.mapAttrs (_: inStore) (layout.store.ours // alone layout.store.system);

  lines = lib.concatMapStrings (line: line + "\n");
  texts = alone (
    layout.texts
    // {
      "/etc/passwd" = map (
        user: "${user.name}:x:${toString user.id}:${toString user.id}::${user.home}:${user.shell}"
      ) layout.users;
      "/etc/group" = map (user: "${user.group}:x:${toString user.id}:") layout.users;
    }
  );

  # The files of the image, without owners and modes.
  tree = runCommand "nix-postgres-tree-${series}" { } ''
    ${lib.concatStrings (
      lib.mapAttrsToList (
        path: target:
        # a folder with a link to each file whose path has this prefix
        if lib.hasSuffix "/" path then
          ''
            mkdir -p $out${path}
            ln -s ${target}* $out${path}
          ''
        else
          ''
            mkdir -p $out${dirOf path}
            ln -sfn ${target} $out${path}
          ''
      ) links
    )}
    ${lib.concatStrings (
      lib.mapAttrsToList (path: text: ''
        mkdir -p $out${dirOf path}
        cp ${writeText (baseNameOf path) (lines text)} $out${path}
      '') texts
    )}
  '';

  # Checks that the files and programs of layout.json exist, and that a new cluster listens.
  check = runCommand "nix-postgres-check-${series}" { } ''
    for path in ${toString layout.files}; do
      test -s ${tree}$path
    done
    ${lib.concatStrings (
      lib.mapAttrsToList (folder: names: ''
        for program in ${names}; do
          test -x ${tree}${folder}/$program
        done
      '') layout.programs
    )}
    ${lib.concatStrings (
      lib.mapAttrsToList (path: pattern: ''
        grep -qE ${lib.escapeShellArg pattern} ${tree}${path}
      '') layout.contains
    )}
    ${tree}/usr/lib/postgresql/${series}/bin/initdb --no-locale --no-sync --pgdata=data >/dev/null
    grep -q "^listen_addresses = '\*'" data/postgresql.conf
    touch $out
  '';

  build = if stream then dockerTools.streamLayeredImage else dockerTools.buildLayeredImage;
  image = build {
    inherit name;
    tag = if tag == null then series else tag;
    fromImage = over;
    fakeRootCommands = ''
      cp -a --no-preserve=ownership ${tree}/. .
      chmod -R u+w .
      ${lib.concatStrings (
        lib.mapAttrsToList (path: folder: ''
          install -d -o ${idOf.${folder.owner}} -g ${idOf.${folder.owner}} -m ${folder.mode} .${path}
        '') folders
      )}
    '';
    config = {
      Entrypoint = layout.config.entrypoint;
      Cmd = layout.config.cmd;
      StopSignal = layout.config.stop_signal;
      ExposedPorts = lib.genAttrs layout.config.ports (_: { });
      Volumes = lib.genAttrs layout.config.volumes (_: { });
      Labels = layout.config.labels // {
        "org.opencontainers.image.version" = entrypoint.version;
      };
      Env = lib.mapAttrsToList (variable: value: "${variable}=${value}") (
        layout.config.environment // lib.optionalAttrs (over == null) { PG_VERSION = postgresql.version; }
      );
    };
  };
in
lib.extendDerivation true { inherit check layout tree; } image
