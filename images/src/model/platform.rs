//! Platforms: which of an index's images fits a machine.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::base::{Error, Kind, Result, Step};

/// An operating system, an architecture in Go's names, and a variant such as `v7` where there are several.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `linux`, for every image that runs here.
    pub os: String,
    /// `amd64`, `arm64`, `riscv64` …
    pub architecture: String,
    /// `v6`, `v7`, `v8`; empty where there is but one.
    pub variant: String,
}

impl Platform {
    /// The platform that this program was compiled for.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = normal(std::env::consts::ARCH, "");
        Self { os: "linux".to_owned(), architecture, variant }
    }

    /// Whether an image for `self` runs where `wanted` is asked for.
    #[must_use]
    pub fn fits(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (self.variant == wanted.variant || self.lesser_arm(wanted))
    }

    /// 32-bit ARM runs what is made for an older variant.
    fn lesser_arm(&self, wanted: &Self) -> bool {
        let number = |text: &str| text.strip_prefix('v').and_then(|digits| digits.parse::<u8>().ok());
        self.architecture == "arm"
            && matches!((number(&self.variant), number(&wanted.variant)), (Some(mine), Some(most)) if mine <= most)
    }

    /// As JSON, for an index.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::json!({ "architecture": self.architecture, "os": self.os });
        if let Some(object) = value.as_object_mut()
            && !self.variant.is_empty()
        {
            object.insert("variant".to_owned(), serde_json::json!(self.variant));
        }
        value
    }
}

/// Go's name of an architecture, and its usual variant made explicit, so that two ways of writing one platform are equal.
fn normal(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64", variant) => ("arm64", variant),
        ("i386" | "i686" | "x86", variant) => ("386", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("powerpc64", variant) => ("ppc64le", variant),
        other => other,
    };
    let variant = match (architecture, variant) {
        ("arm64", "v8" | "8") | ("amd64", "v1") => "",
        ("arm", "") => "v7",
        ("arm", "5" | "6" | "7" | "8") => return (architecture.to_owned(), format!("v{variant}")),
        (_, variant) => variant,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// A platform as JSON has it.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let (architecture, variant) = normal(&written.architecture, &written.variant.unwrap_or_default());
        Ok(Self { os: written.os, architecture, variant })
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `linux/arm64`, `linux/arm/v7`, `arm64`.
    fn from_str(text: &str) -> Result<Self> {
        let plain = |part: &&str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [architecture] => ("linux", *architecture, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => ("", "", ""),
        };
        if !parts.iter().all(plain) || os.is_empty() {
            return Err(Error::new(Kind::InvalidArgument, Step::ParsePlatform)
                .object_is(format!("{text:?}"))
                .reason_is("OS/ARCHITECTURE[/VARIANT] is expected, such as linux/arm64"));
        }
        let (architecture, variant) = normal(architecture, variant);
        Ok(Self { os: os.to_owned(), architecture, variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_compared_in_one_form() {
        let parse = |text: &str| text.parse::<Platform>().unwrap();
        assert_eq!(parse("arm64"), parse("linux/aarch64/v8"));
        assert_eq!(parse("linux/x86_64").to_string(), "linux/amd64");
        assert_eq!(parse("linux/arm").to_string(), "linux/arm/v7");
        assert!(parse("linux/arm/v6").fits(&parse("linux/arm/v7")));
        assert!(!parse("linux/arm/v7").fits(&parse("linux/arm/v6")));
        assert!(!parse("windows/amd64").fits(&parse("linux/amd64")));
        for wrong in ["", "/", "linux/", "linux/a/b/c", "linux/ä", "linux/arm 64"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong:?}");
        }
    }
}
