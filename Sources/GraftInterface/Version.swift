import CGraft
import GraftKernels

@implementation @_cdecl("graft_version")
public func graft_version() -> Int32 { versionNumber }

@implementation @_cdecl("graft_version_string")
public func graft_version_string() -> UnsafePointer<CChar>? { versionText.chars }

@implementation @_cdecl("graft_instructions")
public func graft_instructions() -> UnsafePointer<CChar>? {
  gk_instruction_name(gk_instruction_set())
}

private let versionNumber =
  GRAFT_VERSION_MAJOR * 10000 + GRAFT_VERSION_MINOR * 100 + GRAFT_VERSION_PATCH
private let versionText: StaticString = "0.1.0"

extension StaticString {
  /// The text as C sees it; it lives as long as the library.
  var chars: UnsafePointer<CChar> {
    UnsafeRawPointer(utf8Start).assumingMemoryBound(to: CChar.self)
  }
}
