use countersign_storage::StoreError;

/// The backend does not do what it was asked to.
pub(crate) fn unavailable(fault: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(fault.to_string())
}

/// The contents of `table` make no sense.
pub(crate) fn inconsistent(table: &'static str, fault: impl Into<String>) -> StoreError {
    StoreError::Inconsistent { table, fault: fault.into() }
}
