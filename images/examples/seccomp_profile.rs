//! Prints the default seccomp profile of a container, as `linux.seccomp` of a config:
//! `cargo run -p orlop-images --example seccomp_profile -- amd64 CAP_CHOWN CAP_SYS_ADMIN`.

#![allow(clippy::print_stdout, reason = "it is there to print")]
#![allow(clippy::disallowed_methods, reason = "it has the entry of the standard library, so its arguments are there")]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (architecture, capabilities) =
        arguments.split_first().ok_or("usage: seccomp_profile ARCHITECTURE [CAPABILITY…]")?;
    let capabilities: Vec<&str> = capabilities.iter().map(String::as_str).collect();
    let profile = orlop_images::bundle::default_profile(architecture, &capabilities).ok_or("no profile for it")?;
    println!("{}", serde_json::to_string_pretty(&profile)?);
    Ok(())
}
