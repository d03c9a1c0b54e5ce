# The entrypoint program (PID 1 of the image) with its compiled modules, and gosu.
{
  lib,
  stdenvNoCC,
  buildEnv,
  python3,
  # a path that a layer with the program has to lie above: see image.nix
  above ? null,
}:
let
  version = lib.head (
    builtins.match ".*__version__ = \"([^\"]+)\".*" (builtins.readFile ../entrypoint/__init__.py)
  );

  packages = python3.pkgs.requiredPythonModules (
    with python3.pkgs;
    [
      apprise
      click
      cronsim
      jinja2
      prometheus-client
      psutil
    ]
  );
  modules = buildEnv {
    name = "nix-postgres-modules";
    paths = packages;
    pathsToLink = [ "/${python3.sitePackages}" ];
  };
in
stdenvNoCC.mkDerivation {
  pname = "nix-postgres-entrypoint";
  inherit version;

  src = lib.sourceByRegex ../. [
    "(conf_templates|entrypoint)(/.*)?"
    "docs(/how-to(/.*)?)?"
    "image(/(trim\\.py|bin(/(entrypoint|gosu))?))?"
  ];

  # The scripts in shims/ use the image's /bin/sh and bash. Modules are compiled, since a start pays for compiling. The program has
  # a Python of its own, a copy without what it never imports; the closure of python3 is four times as large.
  dontPatchShebangs = true;
  installPhase = ''
    own=$out/lib/nix-postgres
    mkdir -p $out/bin
    PYTHONHASHSEED=0 ${python3.interpreter} -sX no_debug_ranges image/trim.py ${modules}/${python3.sitePackages} $own \
      ${python3} ${modules} ${toString packages}
    cp -r conf_templates docs entrypoint $own/
    chmod 755 $own/entrypoint/shims/*
    ${lib.optionalString (above != null) "echo ${above} >$own/above"}
    mkdir $out/by-hand
    for name in pgbackrest wal-g; do
      ln -s ../lib/nix-postgres/entrypoint/shims/by-hand $out/by-hand/$name
    done
    for program in entrypoint gosu; do
      install -m 755 image/bin/$program $out/bin/
      substituteInPlace $out/bin/$program --replace-fail /usr/local/lib/nix-postgres $own
    done
    $own/python3 -IX no_debug_ranges -m compileall -q --invalidation-mode unchecked-hash $own/entrypoint
  '';

  doInstallCheck = true;
  installCheckPhase = ''
    $out/bin/entrypoint backup --help >/dev/null
    $out/bin/entrypoint help check-health >/dev/null
    $out/bin/gosu --version >/dev/null
  '';

  meta = {
    description = "PID 1 of a PostgreSQL container image, with archiving, backups and restore";
    license = lib.licenses.mit;
    mainProgram = "entrypoint";
    platforms = lib.platforms.linux;
  };
}
