//! The few lines that a product needs: open the license, check it, behave accordingly.
//!
//! `minimal PRODUCT EDITION`: the directory that `quorate-vendor catalog --out PRODUCT` has written, and the
//! activation id of the edition. A product takes no such arguments: it has all three compiled in.

use quorate_client::{Client, Mode};
use quorate_core::Result;
use quorate_edge::files;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [product, edition] = arguments.as_slice() else {
        eprintln!("usage: minimal PRODUCT EDITION");
        return ExitCode::from(2);
    };
    match start(Path::new(product), edition) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.report());
            ExitCode::FAILURE
        }
    }
}

fn start(product: &Path, edition: &str) -> Result<()> {
    // In a product: include_bytes!("../product/vendor-root.pem") and include_str!("../product/catalog.jws").
    let root = files::read(&product.join("vendor-root.pem"))?;
    let catalog = files::read_text(&product.join("catalog.jws"))?;

    let client = Client::open(&root, &catalog, edition.parse()?)?;
    let check = client.check();
    match check.mode {
        Mode::Full => println!("Everything works."),
        Mode::Notify => println!("Everything works. {}", check.text),
        Mode::ReadOnly => println!("View only. {}", check.text),
    }
    Ok(())
}
