//! Generates the stubs of `grpc/*.proto`; needs `protoc` (`scripts/setup` installs it).
fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .bytes(".")
        .compile_protos(&["grpc/ensemble.proto"], &["grpc"])
}
