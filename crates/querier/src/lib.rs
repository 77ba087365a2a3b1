//! Query API, planning, splitting, execution, merging, tail.
