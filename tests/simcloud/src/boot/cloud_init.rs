//! User data (cloud-init's documentation: "Cloud config", modules "Write Files" and "Runcmd").

use std::collections::BTreeMap;
use std::io::Read;

use data_encoding::BASE64;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;

/// What a machine does at its first boot.
#[derive(Debug)]
pub(super) struct CloudInit {
    pub files: Vec<File>,
    /// The script that all of `runcmd` is.
    pub script: Option<String>,
    /// The keys that nothing is done for.
    pub left_out: Vec<String>,
}

#[derive(Debug)]
pub(super) struct File {
    pub path: String,
    pub content: Vec<u8>,
    pub permissions: u32,
    pub appends: bool,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    write_files: Vec<WriteFile>,
    #[serde(default)]
    runcmd: Vec<Run>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct WriteFile {
    path: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    encoding: String,
    permissions: Option<String>,
    #[serde(default)]
    append: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Run {
    Words(Vec<Word>),
    Line(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Number(i64),
}

impl CloudInit {
    /// Reads user data, or says what is wrong with it without repeating it.
    pub fn parse(user_data: &str) -> Result<Self, String> {
        let nothing = Self {
            files: Vec::new(),
            script: None,
            left_out: Vec::new(),
        };
        if user_data.is_empty() {
            return Ok(nothing);
        }
        if user_data.starts_with("#!") {
            let script = Some(user_data.to_owned());
            return Ok(Self { script, ..nothing });
        }
        if user_data.lines().next().map(str::trim_end) != Some("#cloud-config") {
            return Err("user data that is neither '#cloud-config' nor a script".to_owned());
        }
        // Its message may show a line, and a line may hold a secret.
        let document: Document = serde_saphyr::from_str(user_data)
            .map_err(|_| "the user data is not YAML of the form of a cloud config".to_owned())?;
        let files = document.write_files.into_iter().map(read_file);
        let files = files.collect::<Result<_, _>>()?;
        let lines: Vec<String> = document.runcmd.iter().map(line).collect();
        let script = format!("#!/bin/sh\n{}\n", lines.join("\n"));
        Ok(Self {
            files,
            script: Some(script).filter(|_| !lines.is_empty()),
            left_out: document.others.into_keys().collect(),
        })
    }
}

fn read_file(file: WriteFile) -> Result<File, String> {
    let wrong = |what: &str| format!("write_files: {}: {what}", file.path);
    let permissions = file.permissions.as_deref().unwrap_or("0644");
    let permissions = u32::from_str_radix(permissions.trim_start_matches("0o"), 8);
    let permissions = permissions.map_err(|_| wrong("permissions are octal digits"))?;
    let unbase64 = |text: &str| {
        let packed: Vec<u8> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        BASE64
            .decode(&packed)
            .map_err(|_| wrong("it is not base64"))
    };
    let content = match file.encoding.as_str() {
        "" | "text/plain" => file.content.clone().into_bytes(),
        "b64" | "base64" => unbase64(&file.content)?,
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => {
            let mut content = Vec::new();
            let packed = unbase64(&file.content)?;
            let read = GzDecoder::new(packed.as_slice()).read_to_end(&mut content);
            read.map_err(|_| wrong("it is not gzip"))?;
            content
        }
        other => return Err(wrong(&format!("the encoding '{other}' is not known"))),
    };
    Ok(File {
        path: file.path,
        content,
        permissions,
        appends: file.append,
    })
}

/// A command as a line of the script: a list is quoted word by word, a text stays as it is.
fn line(run: &Run) -> String {
    let quoted = |word: &Word| {
        let text = match word {
            Word::Text(text) => text.clone(),
            Word::Number(number) => number.to_string(),
        };
        format!("'{}'", text.replace('\'', r"'\''"))
    };
    match run {
        Run::Line(line) => line.clone(),
        Run::Words(words) => words.iter().map(quoted).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn files_and_commands_are_read_in_their_encodings() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"packed").unwrap();
        let gzip = BASE64.encode(&gzip.finish().unwrap());
        let text = format!(
            "#cloud-config\n\
             package_update: true\n\
             write_files:\n\
             - path: /etc/postern/gateway.env\n  permissions: '0600'\n  content: |\n    A=1\n    B=2\n\
             - {{path: /b, encoding: b64, content: aGFsbG8=}}\n\
             - {{path: /c, encoding: gz+b64, content: {gzip}, append: true}}\n\
             runcmd:\n\
             - echo \"$HOME\" > /x\n\
             - [sh, -c, \"echo 'it''s'\", 7]\n"
        );
        let init = CloudInit::parse(&text).unwrap();
        let files: Vec<_> = init
            .files
            .iter()
            .map(|file| (file.content.as_slice(), file.permissions, file.appends))
            .collect();
        assert_eq!(
            files,
            [
                (b"A=1\nB=2\n".as_slice(), 0o600, false),
                (b"hallo".as_slice(), 0o644, false),
                (b"packed".as_slice(), 0o644, true),
            ]
        );
        let script =
            "#!/bin/sh\necho \"$HOME\" > /x\n'sh' '-c' 'echo '\\''it'\\'''\\''s'\\''' '7'\n";
        assert_eq!(init.script.as_deref(), Some(script));
        assert_eq!(init.left_out, ["package_update"]);
    }

    #[test]
    fn json_is_yaml() {
        let text = "#cloud-config\n{\n  \"write_files\": [{\"path\": \"/a\", \"content\": \"x\\ny\"}],\n  \
            \"runcmd\": [[\"sh\", \"-euc\", \"curl \\\"$1\\\"\\n\", \"install\"]]\n}\n";
        let init = CloudInit::parse(text).unwrap();
        assert_eq!(init.files[0].content, b"x\ny");
        assert!(init.script.unwrap().contains("'curl \"$1\"\n' 'install'"));
    }

    #[test]
    fn what_cannot_be_read_is_not_repeated() {
        for wrong in [
            "s3cret",
            "#cloud-config\nwrite_files: [s3cret\n",
            "#cloud-config\nwrite_files: s3cret\n",
            "#cloud-config\nwrite_files: [{path: /a, encoding: b64, content: 's3cret!'}]\n",
        ] {
            let error = CloudInit::parse(wrong).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
