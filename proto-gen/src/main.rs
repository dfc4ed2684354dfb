//! Makes `crates/tidegate-proto/src/generated` from `crates/tidegate-proto/proto`, without `protoc`.
//!
//! The one argument is the directory to write into.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The services; what they import comes with them.
const SERVICES: [&str; 2] =
    ["envoy/service/ratelimit/v3/rls.proto", "envoy/service/auth/v3/external_auth.proto"];

fn main() -> anyhow::Result<()> {
    let out: PathBuf = std::env::args_os().nth(1).context("say into which directory to write")?.into();
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/tidegate-proto/proto");
    std::fs::create_dir_all(&out)?;
    let compile = || -> anyhow::Result<protox::Compiler> {
        let mut compiler = protox::Compiler::new([&protos])?;
        compiler.include_imports(true).open_files(SERVICES)?;
        Ok(compiler)
    };
    tonic_prost_build::configure()
        .build_transport(false)
        .include_file("mod.rs")
        .out_dir(&out)
        .compile_fds(compile()?.include_source_info(true).file_descriptor_set())?;
    // Reflection needs names and types, not comments.
    std::fs::write(out.join("descriptors.bin"), compile()?.encode_file_descriptor_set())?;
    Ok(())
}
