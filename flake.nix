{
  description = "PostgreSQL images with a PID 1 that archives, backs up, restores and stops in order";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      majors = [
        "15"
        "16"
        "17"
        "18"
      ];
      each = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];
      pkgsOf = system: nixpkgs.legacyPackages.${system};
      oursOf = system: import ./nix { pkgs = pkgsOf system; };

      # image-17 and its variants
      imagesOf =
        system: major:
        let
          ours = oursOf system;
          own = { inherit major; };
          official = own // {
            over = ours.official major;
            tag = "${major}-official";
          };
        in
        {
          "image-${major}" = ours.mkImage own;
          "image-${major}-stream" = ours.mkImage (own // { stream = true; });
          "image-${major}-official" = ours.mkImage official;
          "image-${major}-official-stream" = ours.mkImage (official // { stream = true; });
        };
    in
    {
      packages = each (
        system:
        {
          inherit (oursOf system) entrypoint wal-g;
          default = self.packages.${system}.image-17;
        }
        // lib.mergeAttrsList (map (imagesOf system) majors)
      );

      # mkImage { system = "x86_64-linux"; … } with the packages of flake.lock, or { pkgs = …; … } with others;
      # nix/image.nix lists the other choices.
      lib.mkImage =
        {
          system ? throw "mkImage: give it system, or pkgs",
          pkgs ? pkgsOf system,
          ...
        }@choices:
        (import ./nix { inherit pkgs; }).mkImage (
          removeAttrs choices [
            "system"
            "pkgs"
          ]
        );

      overlays.default = final: _: { nix-postgres = import ./nix { pkgs = final; }; };

      nixosModules.default = import ./nix/module.nix self;

      checks = each (
        system:
        {
          inherit (self.packages.${system}) entrypoint wal-g;
        }
        // lib.listToAttrs (
          map (
            major: lib.nameValuePair "image-${major}" self.packages.${system}."image-${major}".check
          ) majors
        )
      );

      devShells = each (system: {
        default = (pkgsOf system).mkShellNoCC {
          packages = with pkgsOf system; [
            docker-client
            nixfmt-tree
            python3
            shellcheck
            skopeo
            uv
          ];
        };
        # the programs that the workflow publishes with
        release = (pkgsOf system).mkShellNoCC {
          packages = with pkgsOf system; [
            cosign
            syft
          ];
        };
      });

      formatter = each (system: (pkgsOf system).nixfmt-tree);
    };
}
