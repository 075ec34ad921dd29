//! `landfall simulate`.

use crate::model::failure::Failure;

/// Serves simulated clouds until told to stop.
pub fn simulate(_apis: &[String], _hosts: bool) -> Result<u8, Failure> {
    Ok(0)
}
