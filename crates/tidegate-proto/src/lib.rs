//! The messages and services of Envoy's rate limit (`envoy.service.ratelimit.v3`) and external authorization
//! (`envoy.service.auth.v3`) protocols.
//!
//! Everything under [`envoy`] and [`google`] is generated from the files in `proto/`, which are Envoy's, xDS', Google's and
//! protoc-gen-validate's as the crate `envoy-types` 0.7.7 has them, under the Apache License 2.0 (`proto/LICENSE`).
//! `scripts/check-proto --write` makes it anew. It is committed so that a build needs neither `protoc` nor the generator.

#[allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    rustdoc::all,
    reason = "generated"
)]
#[rustfmt::skip]
mod generated;

pub use generated::{envoy, google};

/// The descriptors of the services and of all that they import (an encoded `google.protobuf.FileDescriptorSet`), for
/// reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");
