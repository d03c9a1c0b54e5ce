# The entrypoint program (PID 1 of the image) with its compiled modules, and gosu.
{
  lib,
  stdenvNoCC,
  buildEnv,
  python3,
}:
let
  version = lib.head (
    builtins.match ".*__version__ = \"([^\"]+)\".*" (builtins.readFile ../entrypoint/__init__.py)
  );

  modules = buildEnv {
    name = "nix-postgres-modules";
    paths = python3.pkgs.requiredPythonModules (
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
    pathsToLink = [ "/${python3.sitePackages}" ];
  };
in
stdenvNoCC.mkDerivation {
  pname = "nix-postgres-entrypoint";
  inherit version;

  src = lib.sourceByRegex ../. [
    "(conf_templates|entrypoint)(/.*)?"
    "docs(/how-to(/.*)?)?"
    "image(/bin(/(entrypoint|gosu))?)?"
  ];

  # The scripts in shims/ use the image's /bin/sh and bash. Modules are compiled, since a start pays for compiling.
  dontPatchShebangs = true;
  installPhase = ''
    mkdir -p $out/bin $out/lib/nix-postgres
    cp -r conf_templates docs entrypoint $out/lib/nix-postgres/
    chmod 755 $out/lib/nix-postgres/entrypoint/shims/*
    ln -s ${python3.interpreter} $out/lib/nix-postgres/python3
    mkdir $out/by-hand
    for name in pgbackrest wal-g; do
      ln -s ../lib/nix-postgres/entrypoint/shims/by-hand $out/by-hand/$name
    done
    for program in entrypoint gosu; do
      install -m 755 image/bin/$program $out/bin/
      substituteInPlace $out/bin/$program \
        --replace-fail /usr/local/lib/nix-postgres/python3 ${python3.interpreter} \
        --replace-fail /usr/local/lib/nix-postgres/packages ${modules}/${python3.sitePackages} \
        --replace-fail /usr/local/lib/nix-postgres $out/lib/nix-postgres
    done
    ${python3.interpreter} -m compileall -q --invalidation-mode unchecked-hash $out/lib/nix-postgres
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
