// Loads the page again when a file of the canvas changes, also after the gateway was away.
(() => {
  const scope = /^\/__openclaw__\/cap\/[^/]+/.exec(location.pathname)?.[0] ?? "";
  const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${scope}/__openclaw__/ws`;
  let wait = 1000;
  const listen = (again) => {
    const socket = new WebSocket(address);
    socket.onopen = () => again && location.reload();
    socket.onmessage = (event) => event.data === "reload" && location.reload();
    socket.onclose = () => {
      setTimeout(listen, wait, true);
      wait = Math.min(2 * wait, 30000);
    };
  };
  listen(false);
})();
