# Stand-ins that tell, by builtins.trace, each name that is taken from nixpkgs (`pkgs.icu`, `lib.last`), and each argument
# that a function is given by name (`pkgs.buildEnv(paths)`). What a function returns is ours: its parts are not told.
nixpkgs:
let
  inherit (builtins)
    attrNames
    foldl'
    functionArgs
    intersectAttrs
    isAttrs
    isFunction
    isList
    mapAttrs
    seq
    ;

  told = name: builtins.trace "taken: ${name}";
  isPackage = value: value ? drvPath;
  # Elements of lists are taken here, since a stand-in may leave them out.
  arguments =
    name: given: result:
    foldl' (
      value: argument:
      told "${name}(${argument})" (
        if isList given.${argument} then foldl' (value: element: seq element value) value given.${argument} else value
      )
    ) result (attrNames given);

  recorded =
    name: value:
    if isFunction value then
      given:
      let
        result = value given;
        named = isAttrs given && !isPackage given;
      in
      (if named then arguments name given else result: result) (
        if isFunction result then recorded name result else result
      )
    else if isAttrs value then
      mapAttrs (part name value) value
    else
      value;

  # An attribute of a set that has this name.
  part =
    name: set: attribute: value:
    let
      own = "${name}.${attribute}";
    in
    if isPackage set && builtins.elem attribute [ "drvPath" "name" "outPath" "system" "type" ] then
      value
    else
      told own (
        if attribute == "overrideAttrs" then
          change: value (old: arguments own (change old) (change (recorded name old)))
        else if attribute == "withPackages" then
          choose: value (packages: choose (recorded "postgresql.pkgs" packages))
        else
          recorded own value
      );

  lib = mapAttrs (
    name: value: told "lib.${name}" (if isAttrs value then recorded "lib.${name}" value else value)
  ) nixpkgs.lib;

  packagesOf =
    pkgs:
    let
      own = recorded "pkgs" pkgs // {
        inherit lib;
        pkgs = own;
        callPackage = told "pkgs.callPackage" (
          path: more:
          let
            f = import path;
          in
          f (intersectAttrs (functionArgs f) own // more)
        );
      };
    in
    own;
in
nixpkgs
// {
  inherit lib recorded;
  legacyPackages = mapAttrs (_: packagesOf) nixpkgs.legacyPackages;
}
