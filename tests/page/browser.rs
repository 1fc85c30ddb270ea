//! A headless Chromium, driven over its debugging pipe: JSON messages, each terminated by a zero byte.
//!
//! Promises: whatever the page writes to its console, throws or fails to load is recorded and can be read;
//! every wait has a limit; the browser is stopped when its handle is dropped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A timeout that only a bug reaches.
const PATIENCE: Duration = Duration::from_secs(30);

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/browser.sh")
}

/// Builds or finds a browser; the error is a sentence for a person.
pub fn prepare() -> Result<(), String> {
    static PREPARED: OnceLock<Result<(), String>> = OnceLock::new();
    PREPARED.get_or_init(build).clone()
}

fn build() -> Result<(), String> {
    let output = Command::new(script()).arg("root").stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    waiting: VecDeque<Value>,
    next: u64,
    /// Messages of the browser itself that a person would want to see.
    troubles: Vec<String>,
    _directory: TempDir,
}

/// One tab.
pub struct Tab<'a> {
    pub browser: &'a mut Browser,
    session: String,
    target: Value,
}

impl Drop for Tab<'_> {
    /// A tab is closed when it is dropped, because a browser opens only a few connections to one host.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let target = self.target.clone();
            self.browser.send(None, "Target.closeTarget", json!({"targetId": target}));
        }
    }
}

impl Browser {
    pub fn start() -> Browser {
        let directory = tempfile::tempdir().unwrap();
        for name in ["in", "out"] {
            let path = directory.path().join(name);
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }
        let log = File::create(directory.path().join("log")).unwrap();
        let child = Command::new(script())
            .arg("run")
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        // The script opens both in this order; each open blocks until the other side opens, too.
        let to = File::options().write(true).open(directory.path().join("in")).unwrap();
        let from = File::open(directory.path().join("out")).unwrap();
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(from).split(0) {
                let Some(message) = message.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) else {
                    return;
                };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Browser {
            child,
            to,
            from: receiver,
            waiting: VecDeque::new(),
            next: 0,
            troubles: Vec::new(),
            _directory: directory,
        }
    }

    fn send(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message =
                self.from.recv_timeout(left).unwrap_or_else(|error| panic!("{method}: no answer: {error}"));
            if message["id"] == self.next {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.hear(&message);
        }
    }

    fn hear(&mut self, message: &Value) {
        let parameters = &message["params"];
        let trouble = match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => {
                Some(parameters["exceptionDetails"]["exception"]["description"].to_string())
            }
            "Runtime.consoleAPICalled" => {
                Some(format!("console.{}: {}", parameters["type"], parameters["args"]))
            }
            "Log.entryAdded" => Some(format!("log: {}", parameters["entry"])),
            _ => None,
        };
        self.troubles.extend(trouble);
        self.waiting.push_back(message.clone());
        self.waiting.truncate(100);
    }

    /// A tab of this size in pixels, light or dark.
    pub fn tab(&mut self, width: u32, height: u32, dark: bool) -> Tab<'_> {
        let target =
            self.send(None, "Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = self.send(None, "Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        let mut tab = Tab { browser: self, session, target };
        for domain in ["Page", "Runtime", "Log"] {
            tab.call(&format!("{domain}.enable"), json!({}));
        }
        tab.size(width, height);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}]);
        tab.call("Emulation.setEmulatedMedia", json!({"features": features}));
        tab
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tab<'_> {
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        let session = self.session.clone();
        self.browser.send(Some(&session), method, parameters)
    }

    pub fn size(&mut self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    pub fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({"url": address}));
    }

    /// The value of an expression in the page; if it is a promise, waits for it.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Evaluates an expression until it is true.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.value(&format!("!!({expression})")) != true {
            if Instant::now() > end {
                let text = self.value("document.body.innerText.slice(0, 1500)");
                panic!(
                    "timed out: {expression}\n{}\n{}",
                    text.as_str().unwrap_or_default(),
                    self.browser.troubles.join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses a key in the focused element.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if key == "Enter" && kind == "keyDown" {
                event["text"] = "\r".into();
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Types into the focused element.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// The browser's errors and warnings since the last call of this function.
    pub fn troubles(&mut self) -> Vec<String> {
        self.value("1");
        std::mem::take(&mut self.browser.troubles)
    }

    /// The part of the page around this element, with some margin, as a PNG; at most this high.
    pub fn picture(&mut self, selector: &str, most: u32) -> Vec<u8> {
        let place = format!(
            "(() => {{ const box = document.querySelector('{selector}').getBoundingClientRect(); \
             const top = Math.max(0, box.top + scrollY - 24); \
             return {{ x: 0, y: top, width: innerWidth, height: Math.min({most}, box.bottom + scrollY + 24 - top), scale: 1 }}; }})()"
        );
        let clip = self.value(&place);
        let options = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        decoded(self.call("Page.captureScreenshot", options)["data"].as_str().unwrap())
    }
}

/// Decodes base64 as the browser writes it.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let number =
            group.iter().fold(0, |number, byte| number << 6 | digit(*byte)) << (6 * (4 - group.len()));
        bytes.extend(number.to_be_bytes()[1..].iter().take(group.len() - 1));
    }
    bytes
}
