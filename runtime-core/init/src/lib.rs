//! The wire format between the runtime and the program that sets a container up from inside.
#![no_std]
