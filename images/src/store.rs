//! The store: images and blobs on disk, as an OCI image layout.
