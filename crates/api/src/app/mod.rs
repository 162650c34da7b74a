//! What phones reach: the app's files, and the device API behind the same address.

mod files;
mod guard;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{Router, middleware};

pub use files::AppFiles;

use crate::device::{self, DeviceApi};

/// The whole of the app's address: the device API, the files of the app, and what guards both.
///
/// Each request must come with a `ConnectInfo<SocketAddr>` extension, as for [`device::router`].
pub fn router(api: DeviceApi, files: AppFiles) -> Router {
    let guard = Arc::new(guard::Guard::new(api.origin()));
    let files = Router::new().fallback(files::serve).with_state(Arc::new(files));
    device::router(api).fallback_service(files).layer(middleware::from_fn_with_state(guard, guard::guard))
}
