//! Generated gRPC and push types, their conversions to the model, and the role traits that hide local or remote.
