//! Networks of containers: bridges, addresses, published ports. Knows nothing of images.
