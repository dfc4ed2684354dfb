// Starts Swagger UI on this server's document.
"use strict";

SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#docs",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    // Without this the document's address goes to a validator of its maker's.
    validatorUrl: "none",
});
