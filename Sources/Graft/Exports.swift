// What a program sees by `import Graft`: this module's own types, and those of the method that need
// no pointer.

@_exported import struct GraftSupport.GraftError
@_exported import struct Grafting.GraftOperator
@_exported import struct Grafting.GraftPlan
@_exported import struct Grafting.GraftReport
@_exported import struct Grafting.Period
@_exported import enum Grafting.Source
@_exported import enum Grafting.Weighting
