// From a page to the app that shows it: an iOS web view has a message handler, an Android one an object, both of one name.
(() => {
  const NAME = "openclawCanvasA2UIAction";
  // Whether somebody took it.
  const post = (message) => {
    const ios = globalThis.webkit?.messageHandlers?.[NAME];
    const android = globalThis[NAME];
    if (ios?.postMessage) ios.postMessage(message);
    else if (android?.postMessage) android.postMessage(typeof message === "string" ? message : JSON.stringify(message));
    else return false;
    return true;
  };
  // What a person did; gives it an id when it has none.
  const act = (action) => {
    const id = action?.id || globalThis.crypto?.randomUUID?.() || `${Date.now()}-${Math.random()}`;
    return post({ userAction: { ...action, id } });
  };
  globalThis.OpenClaw = { ...globalThis.OpenClaw, postMessage: post, sendUserAction: act };
  globalThis.openclawPostMessage = post;
  globalThis.openclawSendUserAction = act;
})();
