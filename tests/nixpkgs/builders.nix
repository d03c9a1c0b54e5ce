# The functions of nixpkgs that build, in a few lines each: where there is no corepkgs (corepkgs.nix), images are built
# with these.
{ system }:
let
  lib = import ./lib.nix;
in
rec {
  inherit lib;

  # A shell that keeps its output open for a moment when its script has ended: Nix ends a builder whose output is closed,
  # and some kernels close it before they know the exit code.
  shell = derivation {
    name = "shell";
    inherit system;
    builder = "/bin/bash";
    PATH = "/usr/bin:/bin";
    args = [
      "-euc"
      ''
        printf '%s\n' '#!/bin/bash' '/bin/bash "$@"' 'code=$?' '/bin/sleep 0.3 &' 'exit $code' >$out
        chmod 755 $out
        sleep 0.3 &
      ''
    ];
  };

  make =
    name: more: script:
    derivation (
      {
        inherit name system;
        builder = shell;
        PATH = "/usr/bin:/bin";
        args = [
          "-euc"
          script
        ];
      }
      // removeAttrs more [
        "meta"
        "nativeBuildInputs"
        "passthru"
      ]
    )
    // (more.passthru or { });

  runCommand = make;
  writeText = name: text: builtins.toFile name text;

  # Links to files; the first path wins. nixpkgs links whole folders where it can.
  buildEnv =
    {
      name,
      paths,
      pathsToLink ? [ "" ],
    }:
    make name { } (
      "mkdir $out\n"
      + lib.concatMapStrings (
        path:
        lib.concatMapStrings (folder: ''
          if [ -e ${path}${folder} ]; then
            mkdir -p $out${folder}
            cp -rs --remove-destination ${path}${folder}/. $out${folder}/
            chmod -R u+w $out
          fi
        '') pathsToLink
      ) (lib.foldl' (reversed: path: [ path ] ++ reversed) [ ] paths)
    );

  stdenvNoCC = {
    hostPlatform = { inherit system; };
    mkDerivation =
      asked:
      make "${asked.pname}-${asked.version}" { } ''
        substituteInPlace() {
          local file=$1 text
          text=$(<"$file")
          shift
          while [ $# -gt 0 ]; do
            if [[ $1 != --replace-fail || $text != *"$2"* ]]; then
              echo "$file does not contain $2"
              exit 1
            fi
            text=''${text//"$2"/"$3"}
            shift 3
          done
          printf '%s\n' "$text" >"$file"
        }
        cp -r ${asked.src} source
        chmod -R u+w source
        cd source
        ${asked.installPhase}
        ${asked.installCheckPhase}
      ''
      // {
        inherit (asked) version;
      };
  };
  stdenv = stdenvNoCC;

  # Two layers of the store, ours above the others, and one of what fakeRootCommands makes.
  dockerTools = rec {
    streamLayeredImage =
      {
        name,
        tag,
        fromImage,
        fakeRootCommands,
        config,
        maxLayers,
      }:
      let
        files = make "${name}-files.tar" { inherit fakeRootCommands; } ''
          mkdir files
          cd files
          fakeroot bash -euc "$fakeRootCommands"'
            tar --create --sort=name --numeric-owner --mtime=@1 --hard-dereference --file=$out .
          '
        '';
        image =
          make "${name}-image"
            {
              inherit fromImage;
              config = builtins.toJSON config;
              exportReferencesGraph = [
                "graph"
                files
              ];
            }
            ''
              mkdir $out
              base='{"config": {}, "rootfs": {"diff_ids": []}}'
              if [ -n "$fromImage" ]; then
                tar --extract --directory=$out --file="$fromImage"
                base=$(cat $out/$(jq --raw-output '.[0].Config' $out/manifest.json))
                jq '.[0].Layers' $out/manifest.json >layers
              else
                echo '[]' >layers
              fi
              grep ^/nix/store/ graph | grep -vF ${files} | sort -u >paths
              for each in -v "" files; do
                if [ "$each" = files ]; then
                  cp ${files} new.tar
                else
                  grep $each nix-postgres paths |
                    tar --create --sort=name --numeric-owner --owner=0 --group=0 --mtime=@1 --hard-dereference \
                      --absolute-names --file=new.tar --files-from=-
                fi
                sum=$(sha256sum new.tar | cut -d ' ' -f 1)
                mv new.tar $out/$sum.tar
                jq --arg sum $sum '. + [$sum + ".tar"]' layers >more
                mv more layers
                base=$(jq --arg sum $sum '.rootfs.diff_ids += ["sha256:" + $sum]' <<<"$base")
              done
              case $system in x86_64-*) architecture=amd64 ;; *) architecture=arm64 ;; esac
              jq --arg architecture $architecture --argjson config "$config" '{
                architecture: $architecture, os: "linux", created: "1970-01-01T00:00:01Z",
                config: ($config + {Env: ((.config.Env // []) + $config.Env)}), rootfs: (.rootfs + {type: "layers"})
              }' <<<"$base" >$out/config.json
              jq '[{Config: "config.json", RepoTags: ["${name}:${tag}"], Layers: .}]' layers >$out/manifest.json
            '';
      in
      make "stream-${name}" { } ''
        cat >$out <<'END'
        #!/bin/bash
        # usage: stream [--repo_tag NAME:TAG]
        work=$(mktemp -d)
        jq --arg tag "''${2:-${name}:${tag}}" '.[0].RepoTags = [$tag]' ${image}/manifest.json >$work/manifest.json
        tar --create --numeric-owner --owner=0 --group=0 --mtime=@1 --directory=$work manifest.json \
          --directory=${image} config.json $(jq --raw-output '.[0].Layers[]' ${image}/manifest.json)
        rm -r $work
        END
        chmod 755 $out
      ''
      // {
        imageName = name;
        imageTag = tag;
      };
    buildLayeredImage =
      asked:
      let
        stream = streamLayeredImage asked;
      in
      make "${asked.name}.tar" { } "${stream} >$out" // { inherit (stream) imageName imageTag; };
  };
}
