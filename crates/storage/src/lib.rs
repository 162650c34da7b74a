//! Storage traits and the conformance suite that every backend passes.
