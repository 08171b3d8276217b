//! `Create`: options, the bundle's files and the root file system, then the container.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use crate::bundle::{self, OPTIONS_FILE, Summary};
use crate::options;
use crate::proto::event::{Event, TaskCreate, TaskIo};
use crate::proto::task::{CreateTaskRequest, PidResponse};
use crate::rootfs;
use crate::runtime::{self, Container, Create, Images};
use crate::shim::Shim;
use crate::stdio::{self, Asked, Stdio};
use crate::task::{Caller, Process, Task};
use crate::ttrpc::{Code, Failure};

impl Shim {
    pub(crate) fn create(&mut self, caller: Caller, asked: CreateTaskRequest) {
        if self.stopping() {
            return self.answer(caller, Err(Failure::new(Code::Unavailable, "the shim is ending")));
        }
        if self.tasks.contains_key(&asked.id) {
            let text = format!("container {}: already exists", asked.id);
            return self.answer(caller, Err(Failure::new(Code::AlreadyExists, text)));
        }
        match self.prepare(&asked) {
            Ok(task) => self.make(caller, asked, task),
            Err(failure) => self.answer(caller, Err(failure)),
        }
    }

    /// All that needs no process: options, the bundle's files.
    fn prepare(&mut self, asked: &CreateTaskRequest) -> Result<Task, Failure> {
        let options = options::read(asked.options.as_ref())?;
        let bundle = PathBuf::from(&asked.bundle);
        let unreadable = |error: std::io::Error| Failure::new(Code::InvalidArgument, error.to_string());
        let summary = Summary::read(&bundle).map_err(unreadable)?;
        let systemd = options.systemd_cgroup || summary.names_a_scope();
        let container = Container::new(runtime::root(&options.root, &self.namespace), systemd, &asked.id)?;
        let container = container.with_open_files(self.open_files);
        if !asked.parent_checkpoint.is_empty() {
            return Err(Failure::new(Code::InvalidArgument, "parent_checkpoint: images name their parents themselves"));
        }
        write_options(&bundle, &options.root, systemd)?;
        let work = Some(&options.criu_work_path).filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = Some(&asked.checkpoint).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Task {
            container,
            bundle,
            options,
            init: self.key(),
            execs: BTreeMap::new(),
            oom: None,
            paused: false,
            has_hooks: summary.has_hooks(),
            has_own_pid_namespace: summary.has_own_pid_namespace(),
            saved: path.map(|path| Images { path, work }),
            ending: None,
            is_busy: false,
            queue: VecDeque::new(),
        })
    }

    fn make(&mut self, caller: Caller, asked: CreateTaskRequest, task: Task) {
        let streams = Asked {
            stdin: asked.stdin.clone(),
            stdout: asked.stdout.clone(),
            stderr: asked.stderr.clone(),
            terminal: asked.terminal,
        };
        let key = task.init;
        let owner = self.owner(&asked.id, &task.options);
        // Mounting waits for what is mounted: a server that is gone, a file system in user space.
        let may_take_long = task.has_hooks || stdio::starts_a_program(&streams) || !asked.rootfs.is_empty();
        let mounts = asked.rootfs.clone();
        let (container, is_saved) = (task.container.clone(), task.saved.is_some());
        let (no_pivot, no_new_keyring) = (task.options.no_pivot_root, task.options.no_new_keyring);
        let bundle = task.bundle.clone();
        self.processes.insert(key, Process::new(&asked.id, "", streams.clone()));
        self.tasks.insert(asked.id.clone(), task);
        let id = asked.id.clone();
        self.work(&id, may_take_long, move || {
            // Saved processes are restored by `start`, which is when their streams are needed.
            let made = rootfs::mount_all(&mounts, &bundle.join("rootfs")).and_then(|()| {
                if is_saved {
                    return Ok((None, Stdio::default()));
                }
                let (streams, mut stdio) = Stdio::open(&streams, &owner)?;
                match container.create(Create { bundle, streams, no_pivot, no_new_keyring }) {
                    Ok(process) => Ok((Some(process), stdio)),
                    Err(failure) => {
                        stdio.abandon();
                        Err(failure)
                    }
                }
            });
            Box::new(move |shim: &mut Self| shim.created(caller, &asked, key, made))
        });
    }

    fn created(
        &mut self,
        caller: Caller,
        asked: &CreateTaskRequest,
        key: u64,
        made: Result<(Option<runtime::Process>, Stdio), Failure>,
    ) {
        let adopted = made.and_then(|(process, stdio)| match process {
            Some(process) => self.adopt(key, process, stdio),
            None => Ok(0),
        });
        let pid = match adopted {
            Ok(pid) => pid,
            Err(failure) => return self.creation_failed(caller, asked, key, failure),
        };
        if pid != 0 {
            self.write_pid(&asked.id, pid);
            self.watch_oom(&asked.id, key);
        }
        self.publish(&Event::Create(TaskCreate {
            container_id: asked.id.clone(),
            bundle: asked.bundle.clone(),
            rootfs: asked.rootfs.clone(),
            io: Some(TaskIo {
                stdin: asked.stdin.clone(),
                stdout: asked.stdout.clone(),
                stderr: asked.stderr.clone(),
                terminal: asked.terminal,
            }),
            checkpoint: asked.checkpoint.clone(),
            pid,
        }));
        self.reply(caller, Ok(PidResponse { pid }));
    }

    fn creation_failed(&mut self, caller: Caller, asked: &CreateTaskRequest, key: u64, failure: Failure) {
        let task = self.tasks.remove(&asked.id);
        let left_made = self.processes.get(&key).is_some_and(|process| process.running.is_some());
        if let Some(task) = task {
            if left_made && let Err(second) = task.container.delete(true) {
                self.log.warn(format_args!("{}: {}", asked.id, second.message));
            }
            for (caller, _) in task.queue {
                self.answer(
                    caller,
                    Err(Failure::new(Code::NotFound, format!("container {} not created: not found", asked.id))),
                );
            }
        }
        self.discard(key, &Failure::new(Code::NotFound, "the container was not created: not found"));
        if !asked.rootfs.is_empty()
            && let Err(second) = rootfs::unmount_all(&Path::new(&asked.bundle).join("rootfs"))
        {
            self.log.warn(second.message);
        }
        self.answer(caller, Err(failure));
    }
}

fn write_options(bundle: &Path, root: &str, systemd: bool) -> Result<(), Failure> {
    let text = serde_json::json!({ "root": root, "systemd_cgroup": systemd }).to_string();
    bundle::write_file(&bundle.join(OPTIONS_FILE), text.as_bytes()).map_err(|error| Failure::new(Code::Unknown, error))
}
