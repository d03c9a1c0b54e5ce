# The functions of nixpkgs that build, as ekala-project/corepkgs has them, over a stdenv whose programs are Debian's.
# `corepkgs` and `nixLib` are the folders of that repository and of ekala-project/nix-lib.
{
  corepkgs,
  nixLib,
  system,
}:
let
  # corepkgs fetches nix-lib itself; this import gives it the folder instead.
  scope = {
    import = builtins.scopedImport scope;
    builtins = builtins // {
      fetchTree = _: nixLib;
    };
  };
  import' = scope.import;
  lib = import' (corepkgs + "/lib.nix");
  platform = lib.systems.elaborate system;

  stdenv = import' (corepkgs + "/stdenv/generic") {
    initialPath = [ "/usr" ];
    shell = "${(import ./builders.nix { inherit system; }).shell}";
    cc = null;
    fetchurlBoot = null;
    config = {
      allowAliases = true;
      allowBroken = false;
      allowUnfree = false;
      allowUnsupportedSystem = false;
      checkMeta = false;
      configurePlatformsByDefault = false;
      contentAddressedByDefault = false;
      enableParallelBuildingByDefault = false;
      strictDepsByDefault = true;
      structuredAttrsByDefault = false;
    };
    buildPlatform = platform;
    hostPlatform = platform;
    targetPlatform = platform;
  };

  # A path whose programs are the container's.
  tools = derivation {
    name = "debian";
    inherit system;
    builder = "/bin/bash";
    args = [
      "-euc"
      "/bin/mkdir $out && /bin/ln -s /usr/bin $out/bin"
    ];
  };

  call =
    path: more:
    let
      f = import' (corepkgs + path);
      asked = builtins.functionArgs f;
      missing = name: throw "corepkgs.nix: ${path} needs ${name}, which this set does not have";
      required = builtins.filter (name: !asked.${name}) (builtins.attrNames asked);
    in
    f (lib.genAttrs required missing // builtins.intersectAttrs asked (pkgs // more));

  trivial = import' (corepkgs + "/build-support/trivial-builders") {
    inherit lib stdenv;
    config = { };
    stdenvNoCC = stdenv;
    jq = tools;
    lndir = tools;
    runtimeShell = "/bin/bash";
    shellcheck-minimal = tools;
  };

  pkgs = trivial // {
    inherit lib stdenv;
    stdenvNoCC = stdenv;
    runtimeShell = "/bin/bash";
    buildPackages = pkgs;
    callPackage = path: more: throw "corepkgs.nix: ${toString path} is not called here";
    perl = tools;
    jq = tools;
    fakeroot = tools;
    pigz = tools;
    go.GOARCH = platform.go.GOARCH or (if platform.isx86_64 then "amd64" else "arm64");
    makeWrapper = pkgs.makeSetupHook {
      name = "make-shell-wrapper-hook";
      propagatedBuildInputs = [
        (pkgs.makeSetupHook { name = "die-hook"; } (corepkgs + "/build-support/setup-hooks/die.sh"))
      ];
      substitutions.shell = "/bin/bash";
    } (corepkgs + "/build-support/setup-hooks/make-wrapper.sh");
    replaceVarsWith = call "/build-support/replace-vars/replace-vars-with.nix" { };
    replaceVars = call "/build-support/replace-vars/replace-vars.nix" { };
    buildEnv = call "/pkgs/buildEnv" { };
    dockerAutoLayer = call "/build-support/docker/auto-layer.nix" { python3 = tools; };
    dockerTools = call "/build-support/docker" {
      # theirs makes the same file by a wrapper that a C compiler compiles
      writePython3 =
        name: _: path:
        pkgs.runCommandLocal name { } ''
          printf '#!/usr/bin/python3\n' | cat - ${path} >$out
          chmod 755 $out
        '';
    };
  };
in
pkgs
