//! The RADIUS servers that check the first factor for a resource.

use std::{collections::HashMap, sync::Arc};

use countersign_domain::{Upstream, UpstreamId};

/// All upstreams as they are now; replaced as a whole when one changes.
pub type UpstreamTable = HashMap<UpstreamId, Arc<Upstream>>;

pub(crate) fn table(upstreams: Vec<Upstream>) -> Arc<UpstreamTable> {
    Arc::new(upstreams.into_iter().map(|upstream| (upstream.id, Arc::new(upstream))).collect())
}
