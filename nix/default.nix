# All packages and images, built from one set of nixpkgs.
{ pkgs }:
rec {
  entrypoint = pkgs.callPackage ./entrypoint.nix { };

  # With the small client that hands segments to wal-g's daemon, which the nixpkgs package does not include.
  wal-g = pkgs.wal-g.overrideAttrs (old: {
    subPackages = old.subPackages ++ [ "cmd/daemonclient" ];
    postInstall = "mv $out/bin/daemonclient $out/bin/walg-daemon-client\n" + old.postInstall;
  });

  # The official Debian image of a major version, as a base for mkImage's `over`.
  official = major: pkgs.callPackage ./official.nix { inherit major; };

  mkImage = pkgs.callPackage ./image.nix { inherit entrypoint wal-g; };
}
