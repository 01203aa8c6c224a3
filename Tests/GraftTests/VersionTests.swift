import Graft
import Testing
