//! A real browser without a screen: Debian's Chromium, driven by its own driver.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use thirtyfour::prelude::*;

/// A browser window; the browser ends with it.
pub struct Browser {
    pub driver: WebDriver,
    chromedriver: Child,
}

impl Browser {
    /// A window of this size, for people who want it light or dark.
    pub async fn open(width: u32, height: u32, dark: bool) -> Self {
        // The driver is spoken to without TLS, but its client wants to know how it would be.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let chromedriver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Chromium's driver is not installed: run ./setup");
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "the driver does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut wanted = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
        ] {
            wanted.add_arg(argument).unwrap();
        }
        wanted.add_arg(&format!("--window-size={width},{height}")).unwrap();
        if width < NARROWEST_WINDOW {
            let screen = serde_json::json!({ "deviceMetrics": { "width": width, "height": height, "pixelRatio": 1.0 } });
            wanted.add_experimental_option("mobileEmulation", screen).unwrap();
        }
        if dark {
            wanted.add_arg("--force-dark-mode").unwrap();
            wanted.add_arg("--blink-settings=preferredColorScheme=0").unwrap();
        }
        // The service's certificate is of its own activation CA.
        wanted.accept_insecure_certs(true).unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted).await.unwrap();
        Self { driver, chromedriver }
    }

    /// Follows an address.
    pub async fn go(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// The first element of a CSS selector, which comes within seconds.
    pub async fn find(&self, css: &str) -> WebElement {
        let found = self.driver.query(By::Css(css)).first().await;
        match found {
            Ok(found) => found,
            Err(error) => panic!("{css}: {error}\n{}", self.driver.source().await.unwrap()),
        }
    }

    pub async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.unwrap()
    }

    /// Waits until an element says this, among other things: a page may be on its way still.
    pub async fn shows(&self, css: &str, text: &str) {
        let started = Instant::now();
        loop {
            let said = match self.driver.query(By::Css(css)).nowait().first().await {
                Ok(found) => found.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            if said.contains(text) {
                return;
            }
            if started.elapsed() > Duration::from_secs(10) {
                panic!("{css} says {said:?}, not {text:?}\n{}", self.driver.source().await.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Types into a field, in place of what is there.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    pub async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap();
    }

    /// Keys, wherever the focus is.
    pub async fn keys(&self, keys: impl IntoArrayOfKeys) {
        self.driver.active_element().await.unwrap().send_keys(keys.into_keys()).await.unwrap();
    }

    pub async fn script(&self, script: &str) -> serde_json::Value {
        self.driver.execute(script, vec![]).await.unwrap().json().clone()
    }

    pub async fn close(self) {
        let _ = self.driver.clone().quit().await;
    }
}

/// The browser is in the driver's process group, and ends with it when a test fails as well.
impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.chromedriver.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.chromedriver.wait();
    }
}

/// No window is narrower; smaller screens are emulated.
const NARROWEST_WINDOW: u32 = 500;

/// What can be typed.
pub trait IntoArrayOfKeys {
    fn into_keys(self) -> TypingData;
}

impl<T: Into<TypingData>> IntoArrayOfKeys for T {
    fn into_keys(self) -> TypingData {
        self.into()
    }
}
