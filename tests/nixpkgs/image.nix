# The flake's packages with Debian's binaries. `corepkgs` and `nixLib` are folders; without them, builders.nix builds.
{
  corepkgs ? null,
  nixLib ? null,
}:
let
  system = builtins.currentSystem;
  builders =
    if corepkgs == null then
      import ./builders.nix { inherit system; }
    else
      import ./corepkgs.nix {
        inherit system;
        corepkgs = /. + corepkgs;
        nixLib = /. + nixLib;
      };
  pkgs = import ./debian.nix { inherit builders system; };
  self = (import ../../flake.nix).outputs {
    inherit self;
    nixpkgs = {
      inherit (builders) lib;
      legacyPackages.${system} = pkgs;
    };
  };
in
self.packages.${system}
// {
  mkImage = choices: self.lib.mkImage (choices // { inherit pkgs; });
}
