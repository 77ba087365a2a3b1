//! Generates the gRPC and push types with protox: no `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto");
    let files = [
        "logproto/push.proto",
        "skald/types.proto",
        "skald/ingest.proto",
        "skald/select.proto",
    ];
    let descriptors = protox::compile(files, ["../../proto"])?;
    tonic_prost_build::configure()
        .bytes(".logproto.EntryAdapter.line")
        .bytes(".skald.LogRows.lines")
        .compile_fds(descriptors)?;
    Ok(())
}
