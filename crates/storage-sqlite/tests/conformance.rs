//! The suite that every backend passes, over a file.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use countersign_storage::Store;
use countersign_storage::conformance::Backend;
use support::Dir;

#[async_trait]
impl Backend for Dir {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store().await.unwrap())
    }
}

countersign_storage::conformance_tests!(Dir::new());
