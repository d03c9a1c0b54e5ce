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
  entrypointAbove,
  wal-g,
}:
# The choices of a deployer. They are separate from the arguments above, so that callPackage fills in none of them:
{
  major ? "17",
  # false: without LLVM, which is half of the image; the server then ignores its setting jit
  jit ? true,
  postgresql ? pkgs."postgresql_${major}${if jit then "_jit" else ""}",
  # as for postgresql.withPackages: ps: [ ps.pg_cron ]
  extensions ? _: [ ],
  # libraries that the server loads at its start: a new cluster's own postgresql.conf names them, and all else can change that
  preload ? [ ],
  # a package with lib/locale/locale-archive, for locales other than those of layout.json
  locales ? null,
  # older major versions whose clusters the image can upgrade: [ "15" "17" ]; their programs have the same C library
  upgradeFrom ? [ ],
  # more programs for init files
  programs ? [ ],
  # more variables of the image
  environment ? { },
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
    sed -E ${
      lib.concatStringsSep " " (
        lib.mapAttrsToList (
          name: value: "-e ${lib.escapeShellArg "s|^#?${name} = '[^']*'|${settingOf name value}|"}"
        ) settings
      )
    } ${postgresql}/$place >$out/$place
  '';
  settingOf = name: value: "${name} = '${value}'";
  settings = {
    listen_addresses = "*";
  }
  // lib.optionalAttrs (preload != [ ]) {
    shared_preload_libraries = lib.concatStringsSep "," preload;
  };
  server = buildEnv {
    name = "postgresql-${series}-image";
    paths = [
      (lib.hiPrio sample)
      (postgresql.withPackages extensions)
    ];
  };

  older = lib.listToAttrs (
    map (
      each:
      lib.nameValuePair "/usr/lib/postgresql/${each}" (
        toString (pkgs."postgresql_${each}${if jit then "_jit" else ""}".withPackages extensions)
      )
    ) upgradeFrom
  );

  # The cluster that a first start copies if initdb would make the same one. It is made in the image's environment: a start
  # compares environments, so variables of this build would prevent the copy.
  template = runCommand "nix-postgres-template-${series}" { } ''
    env -i PATH=$PATH:${server}/bin LANG=${layout.config.environment.LANG} \
      ${entrypoint}/bin/entrypoint internal template --locales ${packages.locales}/lib/locale/locale-archive \
        --icu ${icu}/lib $out
  '';

  # With a reference to PostgreSQL's cluster, so that its layer lies above those of PostgreSQL, which change less often.
  program = if over == null then entrypointAbove template else entrypoint;

  # For init files, pg_ctl, archive_command, and people who open a shell.
  tools = buildEnv {
    name = "nix-postgres-programs";
    paths = map (name: pkgs.${name}) layout.tools ++ programs;
    pathsToLink = [ "/bin" ];
  };

  # On another image, only what that image lacks.
  alone = lib.optionalAttrs (over == null);
  ours = lib.filterAttrs (path: _: over == null || lib.hasPrefix "/usr/local/" path) layout.links;
  had = lib.filterAttrs (path: _: wal-g != null || !lib.hasPrefix "wal" (baseNameOf path));
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
      icu
      nss_wrapper
      pgbackrest
      server
      template
      tools
      tzdata
      ;
    entrypoint = program;
    wal-g = if wal-g == null then "" else wal-g;
  };
  inStore = lib.replaceStrings (map (name: "@${name}@") (lib.attrNames packages)) (
    map toString (lib.attrValues packages)
  );
  links = ours // older // lib.mapAttrs (_: inStore) (had layout.store.ours // alone layout.store.system);

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
    for path in ${toString (lib.filter (file: jit || !lib.hasSuffix "/llvmjit.so" file) layout.files)}; do
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
    for major in ${toString upgradeFrom}; do
      test -x ${tree}/usr/lib/postgresql/$major/bin/postgres
    done
    ${tree}/usr/lib/postgresql/${series}/bin/initdb --no-locale --no-sync --pgdata=data >/dev/null
    ${lib.concatStrings (
      lib.mapAttrsToList (name: value: ''
        grep -F ${lib.escapeShellArg (settingOf name value)} data/postgresql.conf | grep -q "^${name}"
      '') settings
    )}
    touch $out
  '';

  build = if stream then dockerTools.streamLayeredImage else dockerTools.buildLayeredImage;
  image = build {
    inherit name;
    tag = if tag == null then series else tag;
    fromImage = over;
    # dockerTools gives the largest paths a layer of their own, each above what it needs, and puts all that is left into
    # the layer on top of these.
    maxLayers = if over == null then 12 else 32;
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
        layout.config.environment
        // lib.optionalAttrs (over == null) { PG_VERSION = postgresql.version; }
        // environment
      );
    };
  };
in
lib.extendDerivation true { inherit check layout tree; } image
