//! How a shim is told what to start, and what it answers: two protocols, told apart by what they say.

use crate::arguments::Arguments;
use crate::proto::bootstrap::{BootstrapParams, BootstrapResult};
use crate::proto::{Any, decode, encode};

/// Debug and below; the protocol's numbers grow with importance.
const LOG_DEBUG: i32 = -4;

/// What containerd wants started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bootstrap {
    /// Where events go; empty: by the publishing program.
    pub(crate) ttrpc_address: String,
    pub(crate) grpc_address: String,
    pub(crate) publish_binary: String,
    pub(crate) debug: bool,
    /// The directory of the socket; empty: the usual one.
    pub(crate) socket_dir: String,
    /// The runtime's options.
    pub(crate) options: Option<Any>,
    /// How the answer is written.
    pub(crate) answer: AnswerForm,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerForm {
    /// The address alone: containerd up to 1.6.
    Address,
    /// JSON with the version of the task service: up to 2.2.
    Json(u32),
    /// A message: from 2.3 on.
    Binary,
}

/// The environment that counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    pub(crate) ttrpc_address: String,
    pub(crate) max_shim_version: Option<String>,
}

impl Environment {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        Self {
            ttrpc_address: std::env::var("TTRPC_ADDRESS").unwrap_or_default(),
            max_shim_version: std::env::var("MAX_SHIM_VERSION").ok(),
        }
    }
}

impl Bootstrap {
    /// Reads what came on the command line, in the environment and on standard input.
    ///
    /// The message of 2.3 and the options of earlier versions parse as each other: only the names tell which it is.
    ///
    /// # Errors
    /// When the input is neither.
    pub(crate) fn read(given: &Arguments, environment: Environment, input: &[u8]) -> Result<Self, String> {
        if let Ok(params) = decode::<BootstrapParams>(input)
            && params.instance_id == given.id
            && params.namespace == given.namespace
        {
            return Ok(Self::from_params(params, given));
        }
        let options = match input {
            [] => None,
            _ => Some(decode::<Any>(input).map_err(|_| {
                "standard input is neither BootstrapParams with this id and namespace nor the runtime's options"
                    .to_owned()
            })?),
        };
        let answer = match environment.max_shim_version.as_deref().map(str::parse::<u32>) {
            None => AnswerForm::Address,
            Some(version) => AnswerForm::Json(version.unwrap_or(2).clamp(2, 3)),
        };
        Ok(Self {
            ttrpc_address: environment.ttrpc_address,
            grpc_address: given.address.clone(),
            publish_binary: given.publish_binary.clone(),
            debug: given.debug,
            socket_dir: String::new(),
            options,
            answer,
        })
    }

    fn from_params(params: BootstrapParams, given: &Arguments) -> Self {
        // The first extension that holds options; others are for parts of containerd that do not concern a runtime.
        let options = params.extensions.into_iter().filter_map(|extension| extension.value).find(|any| {
            let name = any.type_name();
            name == "containerd.runc.v1.Options" || name.ends_with("runtimeoptions.v1.Options")
        });
        Self {
            ttrpc_address: params.containerd_ttrpc_address,
            grpc_address: params.containerd_grpc_address,
            publish_binary: params.containerd_binary,
            debug: params.log_level <= LOG_DEBUG || given.debug,
            socket_dir: params.socket_dir,
            options,
            answer: AnswerForm::Binary,
        }
    }

    /// What goes to standard output.
    pub(crate) fn answer(&self, address: &str) -> Vec<u8> {
        match self.answer {
            AnswerForm::Address => address.as_bytes().to_vec(),
            AnswerForm::Json(version) => {
                let answer = serde_json::json!({ "version": version, "address": address, "protocol": "ttrpc" });
                answer.to_string().into_bytes()
            }
            AnswerForm::Binary => {
                encode(&BootstrapResult { version: 3, address: address.to_owned(), protocol: "ttrpc".to_owned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Action;
    use crate::proto::bootstrap::Extension;
    use crate::proto::options::RuncOptions;

    fn given() -> Arguments {
        Arguments {
            action: Action::Start,
            namespace: "k8s.io".to_owned(),
            id: "pod".to_owned(),
            address: "/run/c.sock".to_owned(),
            publish_binary: "/usr/bin/containerd".to_owned(),
            bundle: String::new(),
            debug: false,
        }
    }

    fn options() -> Any {
        Any::of("containerd.runc.v1.Options", &RuncOptions { systemd_cgroup: true, ..RuncOptions::default() })
    }

    #[test]
    fn up_to_2_2_flags_and_the_environment_count() {
        let environment = Environment { ttrpc_address: "/run/c.sock.ttrpc".to_owned(), max_shim_version: None };
        let read = Bootstrap::read(&given(), environment.clone(), &encode(&options())).unwrap();
        assert_eq!(read.options, Some(options()));
        assert_eq!((read.ttrpc_address.as_str(), read.grpc_address.as_str()), ("/run/c.sock.ttrpc", "/run/c.sock"));
        assert_eq!(read.answer("unix:///s/1"), b"unix:///s/1");

        let newer = Environment { max_shim_version: Some("2".to_owned()), ..environment };
        let read = Bootstrap::read(&given(), newer, &[]).unwrap();
        assert_eq!(read.options, None);
        let answer: serde_json::Value = serde_json::from_slice(&read.answer("unix:///s/1")).unwrap();
        assert_eq!(answer, serde_json::json!({ "version": 2, "address": "unix:///s/1", "protocol": "ttrpc" }));
    }

    #[test]
    fn from_2_3_on_a_message_counts() {
        let params = BootstrapParams {
            instance_id: "pod".to_owned(),
            namespace: "k8s.io".to_owned(),
            log_level: -4,
            containerd_ttrpc_address: "/t".to_owned(),
            containerd_grpc_address: "/g".to_owned(),
            containerd_binary: "/b".to_owned(),
            socket_dir: "/run/s".to_owned(),
            extensions: vec![
                Extension { value: Some(Any { type_url: "other".to_owned(), value: vec![1] }) },
                Extension { value: Some(options()) },
            ],
            ..BootstrapParams::default()
        };
        let environment = Environment { max_shim_version: Some("2".to_owned()), ..Environment::default() };
        let read = Bootstrap::read(&given(), environment, &encode(&params)).unwrap();
        assert_eq!(read.options, Some(options()));
        assert!(read.debug);
        assert_eq!((read.ttrpc_address.as_str(), read.socket_dir.as_str()), ("/t", "/run/s"));
        let answer: BootstrapResult = decode(&read.answer("unix:///s/1")).unwrap();
        assert_eq!((answer.version, answer.address.as_str(), answer.protocol.as_str()), (3, "unix:///s/1", "ttrpc"));
    }

    /// The trap: a message for another id must not be taken for this one's, nor options for a message.
    #[test]
    fn the_two_are_told_apart_by_the_names() {
        let params = BootstrapParams {
            instance_id: "other".to_owned(),
            namespace: "k8s.io".to_owned(),
            containerd_ttrpc_address: "/t".to_owned(),
            ..BootstrapParams::default()
        };
        let read = Bootstrap::read(&given(), Environment::default(), &encode(&params)).unwrap();
        assert_eq!(read.ttrpc_address, "");
        assert_eq!(read.answer, AnswerForm::Address);
        // And what is neither is said.
        assert!(Bootstrap::read(&given(), Environment::default(), &[0xff, 0xff]).is_err());
    }

    #[test]
    fn mutated_input_does_no_harm() {
        let whole = encode(&BootstrapParams {
            instance_id: "pod".to_owned(),
            namespace: "k8s.io".to_owned(),
            log_level: -4,
            extensions: vec![Extension { value: Some(options()) }],
            ..BootstrapParams::default()
        });
        for place in 0..whole.len() {
            for value in 0..=255 {
                let mut bytes = whole.clone();
                bytes[place] = value;
                drop(Bootstrap::read(&given(), Environment::default(), &bytes));
                drop(Bootstrap::read(&given(), Environment::default(), &bytes[..place]));
            }
        }
    }
}
