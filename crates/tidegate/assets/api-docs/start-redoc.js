// Starts Redoc on this server's document, in the colours that the reader prefers.
"use strict";

const dark = {
    colors: {
        primary: { main: "#4a90e2" },
        text: { primary: "#dfe5eb", secondary: "#a9b4bf" },
        gray: { 50: "#1c2229", 100: "#232a32" },
        border: { dark: "#4a545f", light: "#343c45" },
        success: { main: "#6fcf97" },
        error: { main: "#ff8f8f" },
        warning: { main: "#f2c14e" },
        responses: {
            success: { backgroundColor: "rgba(111, 207, 151, 0.12)" },
            error: { backgroundColor: "rgba(255, 143, 143, 0.12)" },
            redirect: { backgroundColor: "rgba(242, 193, 78, 0.12)" },
            info: { backgroundColor: "rgba(125, 184, 245, 0.12)" },
        },
        http: { get: "#2f7d4f", post: "#2b6cb0", delete: "#b23b3b" },
    },
    typography: { code: { color: "#ff9d9d", backgroundColor: "#232a32" }, links: { color: "#7db8f5", visited: "#7db8f5", hover: "#a9d0fa" } },
    schema: { nestedBackground: "#1c2229", linesColor: "#5b6a79", typeNameColor: "#a9b4bf", typeTitleColor: "#4a90e2" },
    sidebar: { backgroundColor: "#1a1f25", textColor: "#dfe5eb", activeTextColor: "#7db8f5", arrow: { color: "#dfe5eb" } },
    rightPanel: { backgroundColor: "#0e1216", textColor: "#dfe5eb" },
    codeBlock: { backgroundColor: "#171c22" },
};

const isDark = window.matchMedia("(prefers-color-scheme: dark)").matches;
const chosen = isDark ? dark : {};
const theme = {
    ...chosen,
    typography: {
        fontFamily: "system-ui, sans-serif",
        headings: { fontFamily: "system-ui, sans-serif" },
        ...chosen.typography,
        code: { fontFamily: "ui-monospace, monospace", ...chosen.typography?.code },
    },
};

Redoc.init("openapi.json", { hideDownloadButton: true, nativeScrollbars: true, theme }, document.getElementById("docs"));
