import CGraft

@implementation @_cdecl("graft_version")
public func graft_version() -> Int32 { 0 * 10000 + 1 * 100 + 0 }
