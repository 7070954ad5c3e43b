internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import ServiceKit

/// The description of the interface (OpenAPI 3.0), a file inside the program. Each status that a handler can answer is in it.
enum Interface {
    static let bytes = PackageResources.openapi_json

    static func addRoutes(_ router: Router<Call>) {
        let body = ByteBuffer(bytes: bytes)
        router.get("/openapi.json") { _, _ in
            Response(
                status: .ok, headers: [.contentType: "application/json", .cacheControl: "no-cache"],
                body: .init(byteBuffer: body))
        }
    }
}
