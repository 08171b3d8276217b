//! File systems that the runtime puts together for the init.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use orlop_init::wire::DETAIL;

use super::block::InitBlock;
use super::resources::Given;
use super::{report, resources};
use crate::base::{Error, Result, Step};
use crate::plan::{Assembly, Plan};

/// The detached mount of an assembly, with all that is in it.
///
/// # Errors
/// Those of its operations, as the init would report them.
pub(super) fn make(plan: &Plan, assembly: &Assembly, block: &InitBlock) -> Result<OwnedFd> {
    let records = plan.program.assembled.get(assembly.operations.clone()).unwrap_or(&[]);
    let lent = resources::open_all(plan, &assembly.lent, &Given::default())?;
    let slots: Vec<AtomicI32> = plan.resources.iter().map(|_| AtomicI32::new(0)).collect();
    for (slot, opened) in assembly.lent.iter().zip(&lent) {
        if let Some(place) = slots.get(slot.0 as usize) {
            place.store(opened.as_fd().as_raw_fd() + 1, Ordering::Relaxed);
        }
    }
    let said = [const { AtomicU8::new(0) }; DETAIL];
    block.assemble(records, &slots, &said).map_err(|unmade| match records.get(unmade.index) {
        Some(record) => report::unmade(block, record, &unmade, &super::block::text(&said)),
        None => Error::os(Step::Mount, unmade.errno).with_object("an assembly without operations"),
    })
}
