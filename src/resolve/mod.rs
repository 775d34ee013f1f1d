//! Files and objects to a `Plan`: the only parse, the only `Invalid`.
