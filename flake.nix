{
  description = "PostgreSQL images with a PID 1 that archives, backs up, restores and stops in order";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      # a preview is offered as soon as nixpkgs has it
      majorsOf =
        system:
        lib.filter (major: pkgsOf system ? "postgresql_${major}_jit") (
          lib.attrNames (lib.importJSON ./image/majors.json)
        );
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
        }
        // lib.optionalAttrs ((lib.importJSON ./nix/official.json) ? ${major}) {
          "image-${major}-official" = ours.mkImage official;
          "image-${major}-official-stream" = ours.mkImage (official // { stream = true; });
        };

      # image-18-upgrade: with the programs of each older major
      upgradesOf =
        system:
        let
          inherit (oursOf system) mkImage;
          olderOf = major: lib.filter (each: lib.toInt each < lib.toInt major) (majorsOf system);
          choices = major: {
            inherit major;
            upgradeFrom = olderOf major;
            tag = "${major}-upgrade";
          };
        in
        lib.mergeAttrsList (
          map (major: {
            "image-${major}-upgrade" = mkImage (choices major);
            "image-${major}-upgrade-stream" = mkImage (choices major // { stream = true; });
          }) (upgradable system)
        );
      upgradable = system: lib.filter (major: lib.toInt major > 15) (majorsOf system);

      # image-17-postgis and the other rows of nix/ready.json
      ready = lib.importJSON ./nix/ready.json;
      readyOf =
        system: name:
        let
          row = ready.${name};
          choices = major: {
            inherit major;
            inherit (row) preload;
            jit = row.jit or true;
            programs = map (program: (pkgsOf system).${program}) (row.programs or [ ]);
            environment = row.environment or { };
            extensions = packages: map (package: packages.${package}) row.packages;
            tag = "${major}-${name}";
          };
          inherit (oursOf system) mkImage;
        in
        lib.mergeAttrsList (
          map (major: {
            "image-${major}-${name}" = mkImage (choices major);
            "image-${major}-${name}-stream" = mkImage (choices major // { stream = true; });
          }) row.majors
        );
      readyTags = lib.concatMap (name: map (major: "${major}-${name}") ready.${name}.majors) (
        lib.attrNames ready
      );
    in
    {
      packages = each (
        system:
        {
          inherit (oursOf system) entrypoint wal-g;
          default = self.packages.${system}.image-17;
        }
        // lib.mergeAttrsList (map (imagesOf system) (majorsOf system))
        // lib.mergeAttrsList (map (readyOf system) (lib.attrNames ready))
        // upgradesOf system
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
          map (tag: lib.nameValuePair "image-${tag}" self.packages.${system}."image-${tag}".check) (
            majorsOf system ++ readyTags ++ [ "17-upgrade" ]
          )
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
