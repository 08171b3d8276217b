//! The verbs: one file and one public function each.

#[cfg(feature = "criu")]
pub(crate) mod checkpoint;
pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod features;
#[cfg(test)]
mod fixture;
pub(crate) mod gc;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod ps;
#[cfg(feature = "criu")]
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod spec;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod template;
pub(crate) mod update;
pub(crate) mod validate;
