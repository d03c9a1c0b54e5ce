# Runs a database in its own container under systemd, through NixOS' oci-containers (podman or docker).
flake:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nix-postgres;
  inherit (config.virtualisation.oci-containers) backend;
  inherit (lib) mkOption types;
  inherit (pkgs.stdenv.hostPlatform) system;
in
{
  options.services.nix-postgres = {
    enable = lib.mkEnableOption "PostgreSQL in a container that archives and backs itself up";

    image = mkOption {
      type = types.package;
      default = flake.packages.${system}.image-17-stream;
      defaultText = lib.literalExpression "nix-postgres.packages.\${system}.image-17-stream";
      description = "A streamed image, for example from `nix-postgres.lib.mkImage { stream = true; … }`.";
    };

    folder = mkOption {
      type = types.path;
      default = "/var/lib/nix-postgres";
      description = "Folder on the host for the data, mounted at the image's volume.";
    };

    environment = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        ARCHIVE_URL = "s3://bucket/prefix";
        BACKUP_SCHEDULE = "0 3 * * *";
      };
      description = "Environment variables, see docs/reference/variables.md.";
    };

    secrets = mkOption {
      type = types.attrsOf types.path;
      default = { };
      example.POSTGRES_PASSWORD = "/run/keys/password";
      description = "Variables whose values are in files on the host, readable by root; the values never get into the store.";
    };

    volumes = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "/mnt/other-disk/archive:/archive" ];
      description = "Additional volumes.";
    };

    ports = mkOption {
      type = types.listOf types.str;
      default = [ "127.0.0.1:5432:5432" ];
      description = "Published ports.";
    };

    sharedMemory = mkOption {
      type = types.str;
      default = "256m";
      description = "Size of /dev/shm, which parallel queries use.";
    };

    stopSeconds = mkOption {
      type = types.ints.positive;
      default = 90;
      description = "Seconds after the begin of a stop until the container is killed: more than the sum of the STOP_* variables.";
    };

    backupTimer = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "03:00";
      description = "When systemd takes base backups (OnCalendar), if you want to schedule them outside the container; BACKUP_SCHEDULE schedules them inside.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.backupTimer == null || !(cfg.environment ? BACKUP_SCHEDULE);
        message = "services.nix-postgres: backupTimer and BACKUP_SCHEDULE would both take backups; remove one of them.";
      }
    ];

    systemd.tmpfiles.rules = [ "d ${cfg.folder} 0700 999 999 -" ];

    virtualisation.oci-containers.containers.nix-postgres = {
      image = "${cfg.image.imageName}:${cfg.image.imageTag}";
      imageStream = cfg.image;
      inherit (cfg) ports;
      environment =
        cfg.environment
        // lib.mapAttrs' (name: _: lib.nameValuePair "${name}_FILE" "/run/secrets/${name}") cfg.secrets;
      volumes =
        map (folder: "${cfg.folder}:${folder}") cfg.image.layout.config.volumes
        ++ lib.mapAttrsToList (name: file: "${toString file}:/run/secrets/${name}:ro") cfg.secrets
        ++ cfg.volumes;
      extraOptions = [
        "--shm-size=${cfg.sharedMemory}"
        "--stop-timeout=${toString cfg.stopSeconds}"
        "--health-cmd=entrypoint ready"
        "--health-interval=10s"
        "--health-start-period=1h"
      ];
    };

    systemd.services = {
      "${backend}-nix-postgres".serviceConfig.TimeoutStopSec = lib.mkForce (cfg.stopSeconds + 10);
    }
    // lib.optionalAttrs (cfg.backupTimer != null) {
      nix-postgres-backup = {
        description = "Base backup of nix-postgres";
        requires = [ "${backend}-nix-postgres.service" ];
        after = [ "${backend}-nix-postgres.service" ];
        startAt = cfg.backupTimer;
        serviceConfig = {
          Type = "oneshot";
          ExecStart = "${
            lib.getExe config.virtualisation.${backend}.package
          } exec nix-postgres entrypoint backup push";
        };
      };
    };
  };
}
