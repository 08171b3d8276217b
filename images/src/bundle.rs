//! An image's config as a runtime-spec config.
