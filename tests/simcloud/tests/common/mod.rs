//! A bare caller of the API.
#![allow(dead_code, reason = "not every test program uses all of it")]

use std::sync::Arc;
use std::time::Duration;

use api::http::{Http, NativeHttp};
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use simcloud::{Settings, SimCloud};

pub struct Api {
    pub cloud: SimCloud,
    http: Arc<dyn Http>,
    base: String,
}

pub fn native() -> Arc<dyn Http> {
    Arc::new(NativeHttp::new("test", Duration::from_secs(10)).unwrap())
}

impl Api {
    pub fn new(settings: Settings) -> Self {
        let cloud = SimCloud::new(settings);
        Self::over(&cloud, Arc::new(cloud.http()), "http://sim/v1")
    }

    pub fn over(cloud: &SimCloud, http: Arc<dyn Http>, base: &str) -> Self {
        Self {
            cloud: cloud.clone(),
            http,
            base: base.to_owned(),
        }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<Response<Bytes>, String> {
        let body = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", "Bearer sim-token")
            .body(body);
        self.http.send(request.unwrap()).await
    }

    pub async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let answer = self.send(method, path, body).await.unwrap();
        let body = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        (answer.status().as_u16(), body)
    }

    pub async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, body) = self.ask(method, path, body).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {body}"
        );
        body
    }

    pub async fn refused(&self, method: &str, path: &str) -> (u16, String) {
        let (status, body) = self.ask(method, path, Value::Null).await;
        (
            status,
            body["error"]["code"].as_str().unwrap_or("").to_owned(),
        )
    }

    /// A server of this name that runs, with an address of its own: their ids.
    pub async fn server(&self, name: &str) -> (u64, u64) {
        let new =
            json!({"name": name, "type": "ipv4", "assignee_type": "server", "location": "fsn1"});
        let address = self.ok("POST", "/primary_ips", new).await;
        let address = address["primary_ip"]["id"].as_u64().unwrap();
        let order = json!({
            "name": name, "server_type": "cx23", "image": "debian-13", "location": "fsn1",
            "public_net": {"enable_ipv4": true, "ipv4": address, "enable_ipv6": false},
        });
        let server = self.ok("POST", "/servers", order).await;
        self.cloud.finish_actions();
        (server["server"]["id"].as_u64().unwrap(), address)
    }
}
