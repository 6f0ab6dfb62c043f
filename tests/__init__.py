"""The whole suite; unit, graph, flow, api and end-to-end."""
