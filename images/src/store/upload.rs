//! Notes of uploads that are under way, so that another process can go on with one.

use crate::base::{Result, Step};
use crate::store::Store;

/// The longest note: a URL.
const LONGEST: u64 = 64 << 10;

impl Store {
    /// Notes where an upload goes on, under `name`. A note that is lost costs a transfer and no more, so its bytes are not
    /// forced to disk.
    pub(crate) fn note_upload(&self, name: &str, text: &str) -> Result<()> {
        let (temporary, file) = self.ingest.temporary(Step::Upload, name)?;
        let written = std::io::Write::write_all(&mut &file, text.as_bytes());
        written.map_err(|error| crate::base::Error::io(Step::Upload, &error).object_is(name))?;
        self.ingest.rename(Step::Upload, &temporary, &self.ingest, name)
    }

    /// What was noted under `name`.
    pub(crate) fn noted_upload(&self, name: &str) -> Result<Option<String>> {
        let bytes = self.ingest.read(Step::Upload, name, LONGEST)?;
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Forgets what was noted under `name`.
    pub(crate) fn forget_upload(&self, name: &str) -> Result<()> {
        self.ingest.remove(Step::Upload, name).map(|_| ())
    }
}
