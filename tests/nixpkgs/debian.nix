# nixpkgs with Debian's binaries: every package that an image contains is a copy (debian.py), in a path of its own. What
# builds with them is `builders`: corepkgs.nix, or the few lines of builders.nix.
{ builders, system }:
let
  inherit (builders) lib;
  facts = builtins.fromJSON (builtins.readFile ./debian.json);

  copy =
    name: part:
    derivation {
      name = "${name}-${builtins.replaceStrings [ ":" "~" "+" ] [ "-" "-" "-" ] part.version}";
      inherit system;
      builder = (import ./builders.nix { inherit system; }).shell;
      args = [
        "-c"
        "python3 ${./debian.py} $partPath $out $needs"
      ];
      PATH = "/usr/bin:/bin";
      needs = map (need: parts.${need}) part.needs;
      part = builtins.toJSON part;
      passAsFile = [ "part" ];
    };
  parts = builtins.mapAttrs copy facts.parts;

  postgresql = parts.postgresql // {
    psqlSchema = facts.major;
    version = facts.version;
    withPackages =
      choose:
      builders.buildEnv {
        name = "postgresql-and-plugins-${facts.version}";
        paths = choose pkgs ++ [ parts.postgresql ];
      };
  };

  localesOf =
    names:
    # its C library is an input, or the bases would share what the localedef of the first one made
    builders.runCommand "glibc-locales" { libc = parts.glibc; } ''
      mkdir -p $out/lib/locale root/usr/lib/locale
      for locale in ${toString names}; do
        name=''${locale%%.*}
        localedef --prefix=$PWD/root --inputfile=''${name/#C/C} --charmap=''${locale#*/} ''${locale%/*}
      done
      mv root/usr/lib/locale/locale-archive $out/lib/locale/
    '';

  pkgs =
    parts
    // builtins.removeAttrs builders [ "override" ]
    // {
      inherit pkgs;
      "postgresql_${facts.major}" = postgresql;
      "postgresql_${facts.major}_jit" = postgresql;
      icu = parts.${facts.icu};
      glibcLocales.override = asked: localesOf asked.locales;
      python3 = parts.python3 // {
        interpreter = "${parts.python3}/bin/${facts.python}";
        sitePackages = "lib/${facts.python}/site-packages";
        pkgs = builtins.mapAttrs (_: needs: map (name: parts.${name}) needs) facts.modules // {
          requiredPythonModules = builtins.concatLists;
        };
      };
      wal-g.overrideAttrs = _: parts.wal-g or null;
      callPackage =
        path: more:
        let
          f = import path;
        in
        f (builtins.intersectAttrs (builtins.functionArgs f) pkgs // more);
    };
in
pkgs
