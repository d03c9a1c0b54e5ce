# NixOS: an image with extensions, run under systemd; the files in /run/keys come from sops-nix, agenix or a similar tool.
{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.nix-postgres.url = "github:OWNER/nix-postgres-docker";

  outputs =
    {
      self,
      nixpkgs,
      nix-postgres,
    }:
    {
      packages.x86_64-linux.image = nix-postgres.lib.mkImage {
        system = "x86_64-linux";
        major = "17";
        extensions = ps: [
          ps.pg_uuidv7
          ps.pg_cron
        ];
        stream = true;
      };

      nixosConfigurations.db = nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [
          nix-postgres.nixosModules.default
          {
            services.nix-postgres = {
              enable = true;
              image = self.packages.x86_64-linux.image;
              environment = {
                POSTGRES_CONF_shared_preload_libraries = "pg_cron";
                ARCHIVE_URL = "s3://bucket/db";
                AWS_REGION = "eu-central-1";
                BACKUP_RETAIN_DAYS = "14";
              };
              secrets = {
                POSTGRES_PASSWORD = "/run/keys/password";
                AWS_ACCESS_KEY_ID = "/run/keys/s3_key";
                AWS_SECRET_ACCESS_KEY = "/run/keys/s3_secret";
              };
              sharedMemory = "256m";
              stopSeconds = 90;
              backupTimer = "03:00"; # or BACKUP_SCHEDULE, inside the container
            };
          }
        ];
      };
    };
}
